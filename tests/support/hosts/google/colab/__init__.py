"""A stand-in for Colab's own package: the names, signatures, effects and exceptions of googlecolab/colabtools.

What it is to do stands in the environment variable ``COLAB_STANDIN`` (JSON), so that kernels of their own have it, too:

``mount``     what each call of ``drive.mount`` comes to, in order: ``ok`` (and for ever after the last), ``failed``,
              ``credentials``, ``policy``, ``slow``, ``unsupported``
``secrets``   by name: ``{"payload": …, "access": true}``
``language``  the browser's; without it nothing answers, as where nobody looks
``uploads``   files that the reader picks
``store``     the folder that Drive holds; it outlives a flush
"""

from google.colab import drive, errors, files, output, runtime, userdata

__all__ = ["drive", "errors", "files", "output", "runtime", "userdata"]
