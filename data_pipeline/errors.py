"""What readers of files raise on unusable input."""


class DataError(ValueError):
    """Input that cannot be used at all; one line that names it, what is wrong and what to do."""


class InputWarning(UserWarning):
    """Input that is used, or left out, but not as its owner may think; one line that names it."""


class UnusableError(Exception):
    """What is wrong with a file, for whoever knows its path to complete.

    Attributes:
      problem: what is wrong with it, such as "is empty".
      remedy: what to do about it.
    """

    def __init__(self, problem: str, remedy: str):
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def about(self, path: object) -> str:
        """The one line of an error that names the file."""
        return " ".join(f"{path}: {self.problem}; {self.remedy}".splitlines())
