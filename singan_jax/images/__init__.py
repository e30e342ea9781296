"""Files to arrays and back.

find       the files that patterns name
decode     bytes to pixels, at full precision or with a clear refusal
read       images with their names and checks; PNG out
compose    members made of several images, with a mask, or with settings of their own
pictures   labelled grids of images
"""
