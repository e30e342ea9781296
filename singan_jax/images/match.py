"""Which file belongs to which member: inputs of manipulations and masks are named like members."""

import collections
from collections.abc import Iterable, Sequence

from data_pipeline.files import names
from singan_jax.errors import ImageError


class NamedFiles:
    """Files by their names."""

    def __init__(self, paths: Sequence[str], endings: Sequence[str] = ("",)):
        """Sorts the files.

        Args:
          paths: each file once.
          endings: what their names may have behind the name of what they belong to, the likeliest
            first; ("_mask", "") finds photo_mask.png, or else photo.png, for photo.
        """
        self._endings = endings
        self._exact = dict(zip(names.of_files(paths), paths, strict=True))
        self._alike: dict[str, list[str]] = collections.defaultdict(list)
        for path in paths:
            self._alike[names.of_file(path)].append(path)

    def find(self, wanted: Iterable[str]) -> str | None:
        """The file of the first name that has one, None where none has.

        Raises:
          ImageError: several files have that name.
        """
        for name in wanted:
            for ending in self._endings:
                if name + ending in self._exact:
                    return self._exact[name + ending]
                alike = self._alike.get(name + ending, [])
                if len(alike) == 1:  # others differ from it in capitals alone
                    return alike[0]
                if alike:
                    problem = f"is named {name + ending!r} too, as {alike[0]} is"
                    raise ImageError(alike[1], problem, "remove or rename one of them")
        return None
