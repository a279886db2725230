"""A page to explore latents and their codes: one file that needs neither server nor network.

The page holds its data as one JSON object in ``<script id="geoquant-data">``. Points are in the
order of their codes and, within a code, of their rows; codewords follow as further nodes. Arrays
are base64 of little-endian numbers, row by row:

=================  ===============================================================================
key                content
=================  ===============================================================================
``count_of_code``  points of each code, so that no code has to be stored
``row``            rows of the latents that were given: varints (LEB128), the first of a code as
                   it is, each further one less the one before
``place``          uint16 pairs, x and y in one unit
``distance``       geodesic distance to the centre: uint16 times ``step``
``label``          ``names``, and the position among them of each point in ``bits`` bits
``latents``        points, then codewords: levels of ``bits`` bits in one stream, the lower bits
                   first; a number is ``low + step * level`` of its column
``edges``          for each point varints: how many edges lead to later points, then those, the
                   first less the point, each further one less the one before. Lengths are those
                   between the latents, to ``length_error`` at most
``decoder``        ``layers``: float16 weights (out, in) and biases, ``white`` what is a white
                   pixel; or ``atlas``: decoded nodes in one picture; or null
``samples``        images of some points in one picture, or null
=================  ===============================================================================
"""

from geoquant.explorer.decoders import Layer, LayeredDecoder
from geoquant.explorer.page import write_explorer

__all__ = ["Layer", "LayeredDecoder", "write_explorer"]
