"""The wire to Proxmox VE. Raw dictionaries live and die in this room; what leaves it are the nouns of `model`."""
