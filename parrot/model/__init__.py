"""Parrot and its baselines as models of transformers; `parrot.model.registered` has what they offer.

Nothing is imported here: the data stages want the decoding of pictures (`parrot.model.image_decoding`),
and neither torch nor the seconds that its import takes.
"""
