/* lwIP includes stdio.h but with our settings calls nothing of it. */
#pragma once
