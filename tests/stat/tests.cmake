saediff_test(stat moments)
saediff_test(stat latents)
saediff_test(stat order)
saediff_test(stat bootstrap)
