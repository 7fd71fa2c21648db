#ifndef SAEDIFF_SPLICE_PRIVATE_H
#define SAEDIFF_SPLICE_PRIVATE_H

#include "saediff/model/model.h"

/* Rows whose logits are made at once. */
uint64_t splice_chunk(uint64_t vocabulary);

/* A sink whose `self` is the sd_mat that the rows are copied to. */
SD_MUST_CHECK sd_status splice_keep(void *self, sd_dev *dev, sd_mat rows);

#endif
