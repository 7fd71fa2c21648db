saediff_test(flow order)
saediff_test(flow source NP 3)
