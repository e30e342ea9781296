"""Files to arrays and back.

read       images with their names and checks; PNG out
masks      which pixels a mask marks
match      which file belongs to which member
compose    members made of several images, with a mask, or with settings of their own
pictures   labelled grids of images
"""
