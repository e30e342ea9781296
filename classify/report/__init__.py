"""The page that a study's results end up on.

style           style sheet and HTML
tables          its tables
zoom_matrix     ROC-AUC by train, fill and test zoom
plots           its plots, as SVG
curves          the plot of each epoch's measures
roc_curves      ROC curves of every class
splits          patches and patients of training, validation and test sets
gallery         patches, real and synthetic, and the worst mistakes
distances       of each generator's samples from its source, beside noise
mistakes_page   all misclassified patches, on a page of their own
report          the page of given results
study_report    the pages of a finished study
"""
