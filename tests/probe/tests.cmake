saediff_test(probe probe)
saediff_test(probe pair)
