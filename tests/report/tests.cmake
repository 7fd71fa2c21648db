saediff_test(report report)
