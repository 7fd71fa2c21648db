foreach(name site forward taps pack data bad generate narrow)
  saediff_test(model ${name})
endforeach()
saediff_test(model shared NP 1 2 3 4)
