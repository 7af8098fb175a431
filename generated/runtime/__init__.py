"""What every generated network shares: images, training, checkpoints, processes.

Copied unchanged to the folder `runtime`, next to the networks' folders, whose scripts
import it from there. It knows no network; what is specific to one is in its folder.
"""
