"""Files to arrays and back.

find       the files that patterns name
decode     bytes to pixels, at full precision or with a clear refusal
read       images with their names and checks; PNG out
compose    several images, a mask, or settings of its own in one member
pictures   labelled grids of images
"""
