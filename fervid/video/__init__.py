"""Video files into frames in display order, with times that can be trusted."""
