from . import evaluate as evaluate
from . import manipulate as manipulate
from . import official as official
from .config import PRESETS as PRESETS
from .config import Config as Config
from .config import ConfigError as ConfigError
from .config import preset as preset
from .devices.preemption import Stopped as Stopped
from .errors import ImageError as ImageError
from .errors import InputError as InputError
from .fleet.group import Pace as Pace
from .fleet.monitor import Monitor as Monitor
from .fleet.train import train_fleet as train_fleet
from .images.compose import together as together
from .images.compose import with_mask as with_mask
from .images.read import Image as Image
from .images.read import read_images as read_images
from .runtime import configure_jax as configure_jax
from .samples.page import write_page as write_page
from .samples.sample_files import write_samples as write_samples
from .samples.trained import Samples as Samples
from .samples.trained import TrainedFleet as TrainedFleet
from .samples.trained import load_fleet as load_fleet
from .workdir.merge import merge as merge
from .workdir.record import Member as Member
from .workdir.record import WorkdirError as WorkdirError

__version__: str
