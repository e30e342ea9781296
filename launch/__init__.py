"""Command lines: each file parses its flags and calls one library function.

build_dataset      mammograms to a patch dataset
train_fleet        a SinGAN for each image
merge              one fleet of those trained in shards
sample_fleet       new images
manipulate         the applications of the SinGAN paper
evaluate_samples   measures of samples
import_official    members made from models of the PyTorch original
study              do SinGAN patches help a diagnosis?
train_classifier   one kind of classifier
test_classifier    kept classifiers on other patches
benchmark          speed and memory
benchmarks/        its suites
demo               the whole pipeline on a phantom
photographs        four SinGANs of photographs, and a page of pictures
cli                what all command lines share: flags, exit statuses, errors in one line
path_flags         flags of files and folders
settings           flags made of settings dataclasses
workers            how many processes cut patches
image_source       files, folders, globs and queries to images
"""
