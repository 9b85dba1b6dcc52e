"""Process many videos: jobs, their manifest, and the engines that run them."""
