"""What the library raises on input that cannot work."""


class InputError(ValueError):
    """A file, folder or setting of the user's that cannot be used.

    The message is one line that names it, says what is wrong and what to do.
    """
