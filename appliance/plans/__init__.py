"""TensorRT's plans on this box: built from what (blueprint), for what (gpu), asked for, on the way, known again."""
