"""Everything that comes in from outside, each decided in one place; knows nothing of mammograms.

NumPy and decoders only; `singan_jax` uses it too, and nothing else of this package.

find      the files that files, folders and globs name
places    paths and addresses on a command line
names     names made of files' names
decode    an image file to pixels: which format, and what all formats share
raster    PNG, JPEG, WebP, GIF and BMP
jpeg      JPEG of 12 bits, without loss, and JPEG-LS; for raster and dicom
tiff      TIFF
netpbm    PGM, PPM and PBM
dicom     DICOM
levels    gray levels, sizes and orientation: what decoders share
refused   files that are no images, by what they are
tables    text and tables in any encoding, with any separator
writing   files written whole or not at all; JSON
locking   one process at a time in a folder
limits    the processors and the memory that this process may use
"""
