/* Argument checks of all front ends. A failure is a defect of the caller: SD_E_INTERNAL naming operation, argument and shapes. */
#ifndef SAEDIFF_DEV_FRONT_H
#define SAEDIFF_DEV_FRONT_H

#include "backend.h"

/* m has a live buffer of this device, lies inside it, and its rows do not overlap (stride ≥ cols). */
SD_MUST_CHECK sd_status sd_front_any(const sd_dev *dev, const char *op, const char *arg, sd_mat m);
/* … and holds elements of `type`. */
SD_MUST_CHECK sd_status sd_front_mat(const sd_dev *dev, const char *op, const char *arg, sd_mat m,
                                     sd_dtype type);
/* … and holds real, bf16 or f16. */
SD_MUST_CHECK sd_status sd_front_number(const sd_dev *dev, const char *op, const char *arg, sd_mat m);
/* … and has this shape. */
SD_MUST_CHECK sd_status sd_front_shape(const sd_dev *dev, const char *op, const char *arg, sd_mat m,
                                       sd_dtype type, uint64_t rows, uint64_t cols);
/* Output `out` does not overlap input `in`; both were checked. With may_be, out may be identical to in. A matrix without buffer overlaps
 * nothing. */
SD_MUST_CHECK sd_status sd_front_disjoint(const char *op, const char *out_arg, sd_mat out, const char *in_arg,
                                       sd_mat in, bool may_be);
/* q and k are whole numbers of heads of `head` components, the first a multiple of the second. */
SD_MUST_CHECK sd_status sd_front_heads(const char *op, sd_mat q, sd_mat k, uint64_t head);
/* The backend has the operation, else SD_E_ENV. */
SD_MUST_CHECK sd_status sd_front_has(const sd_dev *dev, const char *op, bool has);

/* The end of every front end: calls the backend's operation in the table of `family`. */
#define SD_FRONT_CALL(st, dev, family, op, args)                                                             \
    do {                                                                                                     \
        SD_TRY(st, sd_front_has(dev, #op, (dev)->backend->family->op != NULL));                              \
        SD_TRY(st, (dev)->backend->family->op(dev, args));                                                   \
    } while (0)

#endif
