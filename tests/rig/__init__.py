"""The rig: a real ComfyUI, tiny real models and a browser, for the tests and the demo."""
