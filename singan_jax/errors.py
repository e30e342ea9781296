"""What the library raises on unusable input."""


class InputError(ValueError):
    """A file, folder or setting from the user that cannot be used.

    The message is one line that names it and says what is wrong and what to do.
    """


class ImageError(InputError):
    """An image file that cannot be used.

    Attributes:
        path: the file or pattern, as given.
        problem: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, path: str, problem: str, remedy: str):
        super().__init__(path, problem, remedy)
        self.path, self.problem, self.remedy = path, problem, remedy

    def __str__(self) -> str:
        return " ".join(f"{self.path}: {self.problem}; {self.remedy}".splitlines())


def os_reason(error: OSError) -> str:
    """The system's reason why a file cannot be used."""
    return error.strerror or type(error).__name__
