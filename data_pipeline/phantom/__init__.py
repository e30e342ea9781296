"""A phantom: synthetic mammograms, written to disk exactly as BCDR is.

For demonstrations and tests, where no patient's images may be used: `write` draws the six sets of
BCDR with images, outlines, masks and tables. Nothing in it is a patient's, and it says so in
`SYNTHETIC.txt` and in every image file. Data flows one way:

    patients          the patients and their images
    mammogram         one of these images
    tissue lesions    what is on it
    features rows     what the tables say of it
    sets              the tables, with what is peculiar to each set
    tree              all of it as files
"""

from data_pipeline.phantom.patients import PhantomSettings
from data_pipeline.phantom.tree import LABEL, film_scale, write

__all__ = ["LABEL", "PhantomSettings", "film_scale", "write"]
