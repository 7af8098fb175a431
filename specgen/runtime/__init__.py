"""What every generated network shares: images, training, checkpoints, processes.

Copied as it is to the folder `runtime`, beside the networks' folders, whose scripts
import it from there. It knows no network: what says something of one is in its folder.
"""
