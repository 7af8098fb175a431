"""A network, or two side by side, as one page of HTML: `specgen report`."""

from specgen.page.page import page

__all__ = ["page"]
