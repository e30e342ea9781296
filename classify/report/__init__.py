"""The page that a study's results end up on.

style          style sheet and HTML
tables         its tables
zoom_matrix    ROC-AUC by train, fill and test zoom
plots          its plots, as SVG
curves         the plot of each epoch's measures
gallery        patches, real and synthetic, and the worst mistakes
report         the page of given results
study_report   the page of a finished study
"""
