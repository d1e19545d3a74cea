"""Writes pictures as TFRecords of the Object Detection API, by TensorFlow: write_records.py OUTPUT PICTURE..."""

import pathlib
import sys

import tensorflow as tf


def feature(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def main():
    output, *pictures = sys.argv[1:]
    with tf.io.TFRecordWriter(output) as writer:
        for picture in map(pathlib.Path, pictures):
            features = {
                "image/encoded": feature(picture.read_bytes()),
                "image/filename": feature(picture.name.encode()),
                "image/height": tf.train.Feature(int64_list=tf.train.Int64List(value=[240])),
                "image/object/bbox/xmin": tf.train.Feature(float_list=tf.train.FloatList(value=[0.1, 0.2])),
                "image/object/class/text": feature(b"circle", b"square"),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


if __name__ == "__main__":
    main()
