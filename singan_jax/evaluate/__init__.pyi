from .measures import Measured as Measured
from .measures import measure_fleet as measure_fleet
from .sample_folder import find_samples as find_samples
from .start_scale import diversities as diversities
from .start_scale import nearest_start_scale as nearest_start_scale
from .summary import write_summary as write_summary
