"""A network as a picture: `architecture.svg`, in the style of the AlexNet paper."""

from specgen.picture.drawing import draw

__all__ = ["draw"]
