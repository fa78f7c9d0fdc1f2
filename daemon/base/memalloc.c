/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memalloc - the mark
 */
#include "base/memalloc.h"

static _Thread_local bool may_take;

void memalloc_set(bool may)
{
	may_take = may;
}

bool memalloc_now(void)
{
	return may_take;
}
