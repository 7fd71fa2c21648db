saediff_test(splice splice)
saediff_test(splice pair)
