saediff_test(text vectors)
