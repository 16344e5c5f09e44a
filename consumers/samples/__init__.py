"""Sample data: believable people of two tenants in the five products' stores, and the means to see what an erasure did.

Nothing of the products uses this: it is for the demo, the tests and the benchmark.

* :mod:`~consumers.samples.stores`, where it goes; :mod:`~consumers.samples.seed` fills it, :mod:`~consumers.samples.w1`
  with the benchmark's load instead;
* :mod:`~consumers.samples.people`, who is in there;
* :mod:`~consumers.samples.fingerprint`, that nobody else's data changed; :mod:`~consumers.samples.remains`, that
  nothing is left; both independent of the data maps;
* :mod:`~consumers.samples.logwriter`, a service that keeps on logging meanwhile.
"""
