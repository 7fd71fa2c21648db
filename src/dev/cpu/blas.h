/* The gemm of OpenBLAS for sd_real. */
#ifndef SAEDIFF_DEV_CPU_BLAS_H
#define SAEDIFF_DEV_CPU_BLAS_H

#include <cblas.h>

#ifdef SD_REAL_IS_DOUBLE
#define sd_cblas_gemm cblas_dgemm
#else
#define sd_cblas_gemm cblas_sgemm
#endif

#endif
