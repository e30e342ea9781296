from .importing import import_runs as import_runs
from .run import OfficialRun as OfficialRun
from .run import read_run as read_run
