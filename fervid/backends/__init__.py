"""The only files of the line that import av, decord, facenet-pytorch's weights or torch."""
