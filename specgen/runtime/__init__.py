"""What every generated network shares: images, training, checkpoints, processes.

Copied unchanged to the folder `runtime`, next to the networks' folders, whose scripts
import it from there. Nothing here is specific to a network; such code is in its folder.
"""
