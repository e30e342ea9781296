"""Mammography datasets: annotation readers, patch extraction, patient splits and the phantom.

NumPy only: imports neither JAX nor another package of this project. `errors` and `files` know
nothing of mammograms, and serve all packages. Data flows one way:

    bcdr, mias (readers) -> mammograms -> patches, cut -> extract -> units, patch_records, splits
    thesis_folder (patches made elsewhere) -> units, patch_records, splits
    -> bcdr_patches, mias_patches, thesis_patches (TFDS builders) -> query, load

    errors            what readers raise on input that cannot be used
    files/            whatever comes in from outside: images, paths, names, tables
    mammograms        mammograms and lesions as readers find them
    mammogram_files   pixels of mammograms and masks
    outlines          polygons of lesions
    bcdr mias         readers of a dataset's folder
    radiomics         what BCDR computed from each lesion
    phantom/          mammograms drawn for tests and the demo
    resizing          by areas, and as OpenCV does
    patches           where patches lie by either set of rules, and cutting them
    patch_records     what is known of each patch, and its files
    units             extraction from any source: parallel, resumable, all or nothing
    pool              one function over many jobs, in several processes
    cut extract       the patches of one mammogram, and of all
    duplicates        the same picture of one patient or of two
    near_copies       mammograms that look alike
    thesis_format     the metadata of the thesis' own scripts
    thesis_folder     patches that those scripts made
    overview          a picture of what was extracted
    splits            patients for training, validation and test
    examples          patches as TFDS stores them
    builders          what the TFDS builders have in common
    bcdr_patches/ mias_patches/ thesis_patches/   the builders
    query             datasets named by a query
    load              patches of a prepared dataset
"""
