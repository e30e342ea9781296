"""What a trained member gives.

blocks         images of many members, as many at a time as memory allows
sample         random samples of any size, from any start scale
trained        a trained fleet, and samples of any of its members
sample_files   samples as PNGs with a manifest
page           an HTML page of a fleet, scale by scale
"""
