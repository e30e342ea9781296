"""A pickle that does harm where it is loaded."""

import os


class Creates:
    """Its pickle creates a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
