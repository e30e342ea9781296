"""Classifiers trained with and without synthetic patches, and the study of whether they help.

May import `singan_jax` and `data_pipeline`, never `launch`.

    cells         what is trained in a study and what comes of it
    crops         random resized crops of test patches
    npz_files     files of arrays
    plan/         what will run: settings, patients, training sets
    backbones/    networks that turn patches into features
    classifiers/  training on features, and predictions
    statistics/   what all predictions together say, with intervals
    costs         what a study costs, estimated before it starts
    study         all stages of a study, each of which resumes
    report/       the page of its results
"""
