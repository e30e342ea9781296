"""What all predictions together say.

metrics      measures of one set of predictions
bootstrap    resampling of patients
replicates   which predictions belong together
places       where on the grid, and all that is said there
statistics   means with intervals, comparisons
subgroups    mistakes, by what is known of a patch
verdict      the answer in two sentences
"""
