"""Pure passes ``Graph -> Graph``, one file each, in the order of ``pipeline.py``."""
