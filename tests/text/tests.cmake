saediff_test(text vectors)
saediff_test(text oracle)
saediff_test(text refusals)
