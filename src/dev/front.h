/* Checks that all front ends share. Whatever fails here is a defect of the caller: SD_E_INTERNAL, with
 * operation, argument and both shapes. */
#ifndef SAEDIFF_DEV_FRONT_H
#define SAEDIFF_DEV_FRONT_H

#include "backend.h"

/* m has a living buffer of this device, lies inside it, and its rows do not overlap (stride ≥ cols). */
SD_MUST_CHECK sd_status sd_front_any(const sd_dev *dev, const char *op, const char *arg, sd_mat m);
/* … and holds elements of `type`. */
SD_MUST_CHECK sd_status sd_front_mat(const sd_dev *dev, const char *op, const char *arg, sd_mat m,
                                     sd_dtype type);
/* … and holds real, bf16 or f16. */
SD_MUST_CHECK sd_status sd_front_number(const sd_dev *dev, const char *op, const char *arg, sd_mat m);
/* … and has this shape. */
SD_MUST_CHECK sd_status sd_front_shape(const sd_dev *dev, const char *op, const char *arg, sd_mat m,
                                       sd_dtype type, uint64_t rows, uint64_t cols);
/* Output `out` shares no element with input `in`; both were checked. With may_be, out may be exactly in. A
 * matrix without buffer shares nothing. */
SD_MUST_CHECK sd_status sd_front_disjoint(const char *op, const char *out_arg, sd_mat out, const char *in_arg,
                                       sd_mat in, bool may_be);
/* q and k are whole numbers of heads of `head` components, the first a multiple of the second. */
SD_MUST_CHECK sd_status sd_front_heads(const char *op, sd_mat q, sd_mat k, uint64_t head);
/* The backend has the operation. */
SD_MUST_CHECK sd_status sd_front_has(const sd_dev *dev, const char *op, bool has);

/* The tail of every front end: what the table of `family` says to the checked block. */
#define SD_FRONT_CALL(st, dev, family, op, args)                                                             \
    do {                                                                                                     \
        SD_TRY(st, sd_front_has(dev, #op, (dev)->backend->family->op != NULL));                              \
        SD_TRY(st, (dev)->backend->family->op(dev, args));                                                   \
    } while (0)

#endif
