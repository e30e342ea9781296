"""Making sure that one process at a time writes to a folder."""

import contextlib
import errno
import fcntl
import pathlib
import warnings
from collections.abc import Iterator

from data_pipeline.errors import InputWarning

# What file systems that are mounted without locks say: NFS, Lustre, some of FUSE.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a folder, which is created if missing.

    A file system without locks is told of, once for each use, and used all the same.

    Raises:
      BlockingIOError: another process holds the lock.
      OSError: the folder cannot be created or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise OSError(error.errno, error.strerror, str(folder / ".lock")) from error
            warnings.warn(
                f"{folder}: its file system has no locks ({error.strerror}), so nothing keeps a "
                "second process out; run one command at a time on it",
                InputWarning,
                stacklevel=3,
            )
        yield
