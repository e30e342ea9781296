"""What all predictions together say.

metrics        measures of one set of predictions
bootstrap      resampling of patients
replicates     which predictions belong together
places         where on the grid, and all that is said there
statistics     means with intervals, comparisons
subgroups      rates of mistakes, by what is known of a patch
mistakes       the patches that are called a wrong class
split_counts   patches and patients of each split
verdict        the answer in two sentences
"""
