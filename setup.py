"""Installs lt4rec_tf. constraints.txt has the exact versions tested; the ranges here must hold."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="lt4rec_tf",
    version="0.2.0",
    description="CTR and CVR in one shared network, each task wearing its own lottery ticket",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="lt4rec_tf developers",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["lt4rec_tf", "lt4rec_tf.*"]), "lt4rec_tf.configs"],
    package_dir={"lt4rec_tf.configs": "configs"},  # `lt4rec quickstart` writes them to ./configs
    package_data={
        "lt4rec_tf": ["py.typed"],
        "lt4rec_tf.configs": ["**/*"],
        "lt4rec_tf.data.public.builders": ["*/README.md", "*/CITATIONS.bib", "*/TAGS.txt"],
    },
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "tf_keras>=2.21,<2.22",
        "tensorflow-model-optimization==0.8.1",
        "setuptools",  # tensorflow-model-optimization imports distutils, which Python 3.12 has not
        "tensorflow-datasets>=4.9.10,<5",
        "importlib_resources",  # tensorflow-datasets imports it and does not declare it
        "requests",  # tensorflow-datasets downloads by it, and lets its errors through
        "tensorboard>=2.20,<2.22",
        "absl-py>=1.4",
        "numpy>=2.0",
        "matplotlib>=3.9",
        "scikit-learn>=1.7",
    ],
    entry_points={"console_scripts": ["lt4rec = lt4rec_tf.__main__:console"]},
    extras_require={
        "beam": ["apache-beam>=2.77,<3", "mlcroissant"],  # tfds's command imports the latter
        "parquet": ["pyarrow>=20"],
        "stores": ["universal_pathlib>=0.3"],
        "test": [
            "apache-beam>=2.77,<3",
            "dill",  # tensorflow_datasets.testing imports it
            "hypothesis",
            "import-linter",
            "mypy",
            "optuna>=5,<6",
            "pyarrow>=20",
            "pytest",
            "pytest-xdist",
            "ruff",
            "scipy",
            "universal_pathlib>=0.3",
        ],
        "serving": ["tensorflow-serving-api>=2.21,<2.22"],
        "tune": ["optuna>=5,<6"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
